"""What the API shows of datasets, runs, checkpoints and rounds, and what it accepts."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from labeling.models import Project
from rlhf.contract.errors import ConfigError
from rlhf.domain.board import Board
from rlhf.domain.datasets.rule import CONSENSUS, FreezeRule, InvalidRule
from rlhf.domain.planning import FOLDERS, PLANNED, default_config
from rlhf.forms.runs import choose_inputs
from rlhf.models import Checkpoint, Dataset, Metric, Round, Run

FREEZABLE = [
    (kind.value, kind.label) for kind in (Dataset.Kind.PREFERENCE, Dataset.Kind.DEMONSTRATION, Dataset.Kind.TEXT)
]


class ProjectField(serializers.SlugRelatedField):
    """A project by its slug; those the user does not manage do not exist."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(slug_field="slug", queryset=Project.objects.all(), **kwargs)

    def get_queryset(self) -> QuerySet[Project]:
        return Project.objects.managed_by(self.context["request"].user)


class DatasetSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Dataset
        fields = [
            *("id", "project", "name", "kind", "sha256", "train_sha256", "test_sha256", "rule", "counts"),
            *("n_train", "n_test", "created_at"),
        ]


class RuleSerializer(serializers.Serializer):
    """The parts of domain.datasets.FreezeRule; demonstrations and texts use test_share and seed alone."""

    include = serializers.ListField(
        child=serializers.CharField(max_length=250),
        default=["own"],
        help_text='"own" for our labelers, "imported:NAME" for a source of imports.',
    )
    consensus = serializers.ChoiceField(list(CONSENSUS.items()), default="majority")
    soft = serializers.BooleanField(default=False, help_text="With dawid_skene: write how likely the better side is.")
    min_judgments = serializers.IntegerField(default=1, min_value=1, max_value=1000)
    use_extra = serializers.BooleanField(default=True, help_text="Count votes that came after their slot was taken.")
    use_hasty = serializers.BooleanField(default=True, help_text="Count votes too soon to have read the texts.")
    use_quarantined = serializers.BooleanField(default=False, help_text="Count votes of labelers in quarantine.")
    use_gold = serializers.BooleanField(default=False, help_text="Count votes of work on what is gold now.")
    use_unsafe = serializers.BooleanField(
        default=False, help_text="Count pairs whose preferred text most labelers flagged as unsafe."
    )
    use_fixes = serializers.BooleanField(default=True, help_text="Make pairs of what labelers rewrote.")
    exclude_labelers = serializers.ListField(
        child=serializers.CharField(max_length=150), default=[], max_length=1000, help_text="Usernames or ids."
    )
    guideline_from = serializers.IntegerField(default=0, min_value=0, max_value=2**31 - 1)
    labeler_share_max = serializers.FloatField(default=0, min_value=0, max_value=1, help_text="0 sets no cap.")
    use_margin = serializers.BooleanField(default=False, help_text="Write the strength of a preference as its margin.")
    test_share = serializers.FloatField(default=0.1, min_value=0, max_value=0.9)
    seed = serializers.IntegerField(default=42, min_value=0, max_value=2**31 - 1)
    note = serializers.CharField(default="", allow_blank=True, max_length=1000)


class DatasetCreateSerializer(serializers.Serializer):
    """What is frozen, and by which rule."""

    project = ProjectField()
    kind = serializers.ChoiceField(FREEZABLE, default=Dataset.Kind.PREFERENCE.value)
    name = serializers.CharField(max_length=200)
    rule = RuleSerializer(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        parts = attrs.pop("rule", None) or RuleSerializer().run_validation({})
        if attrs["kind"] != Dataset.Kind.PREFERENCE:
            return attrs | {"test_share": parts["test_share"], "seed": parts["seed"]}
        try:
            return attrs | {"rule": FreezeRule.from_json(parts)}
        except InvalidRule as error:
            raise serializers.ValidationError({"rule": [str(error)]}) from error


class RunSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    checkpoint = serializers.PrimaryKeyRelatedField(
        read_only=True, allow_null=True, help_text="The model it made, once it succeeded."
    )

    class Meta:
        model = Run
        fields = [
            *(
                "id",
                "project",
                "round",
                "kind",
                "state",
                "config",
                "dataset",
                "base",
                "reward_model",
                "other",
                "checkpoint",
            ),
            *("attempt", "stage", "step", "total_steps", "eta_s", "result", "alarms", "cause", "cancel_requested_at"),
            *("created_at", "started_at", "finished_at"),
        ]


class RunCreateSerializer(serializers.Serializer):
    """A run of one kind; inputs that are left out are the newest there are."""

    project = ProjectField()
    kind = serializers.ChoiceField(PLANNED)
    settings = serializers.DictField(
        default=dict, help_text="Fields of the kind's configuration, over the defaults of the project's loop."
    )
    dataset = serializers.PrimaryKeyRelatedField(queryset=Dataset.objects.all(), required=False, allow_null=True)
    base = serializers.PrimaryKeyRelatedField(queryset=Checkpoint.objects.all(), required=False, allow_null=True)
    reward_model = serializers.PrimaryKeyRelatedField(
        queryset=Checkpoint.objects.all(), required=False, allow_null=True
    )

    other = serializers.PrimaryKeyRelatedField(
        queryset=Checkpoint.objects.all(), required=False, allow_null=True, help_text="The model to merge base with."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        project, kind, settings = attrs["project"], attrs["kind"], attrs.pop("settings")
        choices = choose_inputs(project, kind)
        for name in ("dataset", "base", "reward_model", "other"):
            chosen = attrs.get(name)
            if chosen is not None and (name not in choices or not choices[name].filter(pk=chosen.pk).exists()):
                raise serializers.ValidationError({name: [f"not one of {project} that a {kind} run can use"]})
        folders = sorted(set(settings) & set(FOLDERS))
        if folders:
            raise serializers.ValidationError({"settings": [f"{', '.join(folders)}: name a checkpoint instead"]})
        try:
            attrs["config"] = default_config(project, kind).replace(**settings)
        except ConfigError as error:
            raise serializers.ValidationError({"settings": [str(error)]}) from error
        attrs.pop("kind")
        return attrs


class MetricSerializer(serializers.ModelSerializer):
    class Meta:
        model = Metric
        fields = ["step", "values"]


class CheckpointSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Checkpoint
        fields = ["id", "project", "run", "name", "kind", "parent", "path", "manifest_sha256", "created_at"]


class RoundSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    stages = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text='The runs it goes through: "kind", or "kind:part".'
    )
    runs = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Round
        fields = [
            *("id", "project", "number", "stages", "base", "candidate", "state", "cause", "decision", "decided_at"),
            *("reasons", "n_queued", "counts", "runs", "created_at", "finished_at"),
        ]


class RoundCreateSerializer(serializers.Serializer):
    """The next round of a project."""

    project = ProjectField()


class BoardLineSerializer(serializers.Serializer):
    """Votes of one kind, and how often a reward model would have chosen alike."""

    name = serializers.CharField()
    n = serializers.IntegerField(help_text="Votes with a winner whose pair was scored.")
    right = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True, help_text="Of the 95% interval.")
    high = serializers.FloatField(allow_null=True)
    n_votes = serializers.IntegerField()
    ties = serializers.FloatField(allow_null=True, help_text="Share of the votes that sees no difference.")


class BoardSerializer(serializers.Serializer):
    """A reward model beside people."""

    reward_model = serializers.IntegerField(source="reward_model.pk")
    whole = BoardLineSerializer()
    parts = serializers.DictField(
        child=BoardLineSerializer(many=True), help_text="By strength, policy, slice and labeler."
    )
    n_unscored = serializers.SerializerMethodField(help_text="Judged pairs it has said nothing of yet.")

    def get_n_unscored(self, board: Board) -> int:
        return len(board.unscored)
