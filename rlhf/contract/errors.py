"""The errors both sides of the seam raise and answer."""


class ContractError(ValueError):
    """A file or value at the seam is not what the contract says; the message says what to do."""


class ConfigError(ContractError):
    """A run's configuration is invalid."""


class RecordError(ContractError):
    """A JSONL row is invalid; the message names the file and the line."""


class CorruptError(ContractError):
    """A sealed folder or dataset no longer matches its hash."""
