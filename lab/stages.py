"""All stages over one lane, without shards or engine: for trials, notebooks and tests."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import Detector
from detectors.core.instrument_stage import InstrumentConfig, InstrumentStage
from detectors.core.memory import SubjectState
from detectors.core.peer_stage import PeerConfig, PeerStage
from detectors.core.ranking import RankingSpec
from detectors.core.sent_rows import join
from detectors.core.stage import AccountStage, StageOutput
from detectors.core.stage_config import StageConfig
from flows.align import Align, Mark, tallies_in_order
from flows.lanes import NEVER_NS
from flows.steps import END_OF_TIME_NS
from schemas.columns import EventColumns

_ACCOUNTS: Final = 0  # the one shard of accounts


class Stages:
    """An account stage, aligns, instrument and peer stage; together they look like the first.

    Parameters
    ----------
    detectors
        All rules.
    config
        Of the account stage; the others' follow from it.
    ranking
        What the daily review is made by; nothing without.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        config: StageConfig,
        ranking: RankingSpec | None = None,
    ) -> None:
        self.accounts = AccountStage(detectors, config)
        self.instruments = InstrumentStage(
            detectors,
            InstrumentConfig(
                key=config.key,
                lane_names=config.lane_names,
                tenant=config.tenant,
                idle_ns=config.idle_ns,
            ),
        )
        self.peers = PeerStage(detectors, PeerConfig(config.lane_names, ranking or RankingSpec()))
        self.align = Align(1)
        self.tallies = Align(1, tallies_in_order)
        self._config = config
        self._high_ns = NEVER_NS
        self._number = 0

    @property
    def detectors(self) -> list[Detector]:
        """Those of all stages."""
        return self.accounts.detectors + self.instruments.detectors + self.peers.detectors

    @property
    def subjects(self) -> list[SubjectState]:
        """What these remember."""
        return self.accounts.subjects + self.instruments.subjects + self.peers.subjects

    def take(self, columns: EventColumns, carry: NDArray[np.int64]) -> StageOutput:
        """Take rows in lane order; see ``AccountStage.take``."""
        output = self.accounts.take(columns, carry)
        reached_ns = int(columns.rows["high_before_ns"].max(initial=NEVER_NS))
        self._high_ns = max(self._high_ns, int(carry[0]), reached_ns)
        watermark_ns = self._high_ns - self._config.lateness_most_ns
        output.extend(self._release(output, watermark_ns))
        return output

    def _release(self, output: StageOutput, watermark_ns: int) -> StageOutput:
        self._number += 1
        mark = Mark(_ACCOUNTS, self._number, watermark_ns)
        self.align.add(join(output.sent), [mark])
        tallies = output.tallies + self.accounts.close_tallies(watermark_ns)
        self.tallies.add(join(tallies), [mark])
        found = self.instruments.take(self.align.release())
        found.extend(self.peers.take(self.tallies.release()))
        if watermark_ns >= END_OF_TIME_NS:
            found.extend(self.peers.end())
        return found

    def close(self, watermark_ns: int = END_OF_TIME_NS) -> StageOutput:
        """Judge the days that ended by the watermark."""
        output = self.accounts.close(watermark_ns)
        output.extend(self._release(StageOutput(), watermark_ns))
        output.extend(self.instruments.close(watermark_ns))
        return output

    def totals(self) -> dict[str, int]:
        """Return the counts of the stages that count."""
        return self.accounts.totals() | self.instruments.totals()

    def dump(self) -> dict[str, Any]:
        """Copy the whole state."""
        return {
            "accounts": self.accounts.dump(),
            "instruments": self.instruments.dump(),
            "peers": self.peers.dump(),
            "align": self.align.dump(),
            "tallies": self.tallies.dump(),
            "place": (self._high_ns, self._number),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take up a dump made with the same rules."""
        self.accounts.restore(dumped["accounts"])
        self.instruments.restore(dumped["instruments"])
        self.peers.restore(dumped["peers"])
        self.align = Align.load(1, dumped["align"])
        self.tallies = Align.load(1, dumped["tallies"], tallies_in_order)
        self._high_ns, self._number = dumped["place"]
