"""The settings: one file a section, `file.py` reads them all. These names are what the other rooms use."""

from ct_daemon.config.api import ApiSettings
from ct_daemon.config.data import DataSettings, FilesSource
from ct_daemon.config.file import Config, load, parse
from ct_daemon.config.hooks import HookKind, HookSettings
from ct_daemon.config.metrics import MetricsSettings
from ct_daemon.config.model import AliasTarget, ModelSettings
from ct_daemon.config.scale import ScaleSettings
from ct_daemon.config.service import Limits, Retention
from ct_daemon.config.training import GateSettings, SklearnTrainer, TrainingLimits, TrainingSettings
from ct_daemon.config.triggers import (
    ConceptDriftTrigger,
    Disarm,
    DriftSettings,
    NewDataTrigger,
    OnDemandTrigger,
    PolicySettings,
    TriggerSettings,
)

__all__ = [
    "AliasTarget",
    "ApiSettings",
    "ConceptDriftTrigger",
    "Config",
    "DataSettings",
    "Disarm",
    "DriftSettings",
    "FilesSource",
    "GateSettings",
    "HookKind",
    "HookSettings",
    "Limits",
    "MetricsSettings",
    "ModelSettings",
    "NewDataTrigger",
    "OnDemandTrigger",
    "PolicySettings",
    "Retention",
    "ScaleSettings",
    "SklearnTrainer",
    "TrainingLimits",
    "TrainingSettings",
    "TriggerSettings",
    "load",
    "parse",
]
