"""The one way in which verifying fails."""


class AuditError(Exception):
    """The log is not sound: where, and what is wrong there."""

    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(f"{where}: {sentence}")
        self.where = where
        self.sentence = sentence
