"""What every detector must keep, whoever wrote it: ``tapewatch detectors conform``."""
