"""What can go wrong when models learn; every message says what to do."""


class LearningError(Exception):
    """Base of the errors the views and commands answer."""


class LostLease(LearningError):
    """Another worker has this run now: whoever raises it must stop and write nothing."""


class LostRound(LearningError):
    """The round was ended or paused meanwhile: whoever raises it has written nothing for it and must stop."""


class NotReady(LearningError):
    """The step needs something that is not there yet."""


class DoesNotFit(LearningError):
    """The run would need far more memory than the host has."""


class ModelRefused(LearningError):
    """A model folder is not safe or not complete."""


class LaunchFailed(LearningError):
    """The learning process could not be started; another attempt may well succeed."""


class LaunchAbandoned(LearningError):
    """The run is not wanted any more, or this worker is leaving, before its process was started."""
