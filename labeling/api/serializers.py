"""What programs send and get; serializers alone read request.data. Left and right are as shown: no content A or B,
and nothing of who wrote what."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from labeling.domain.asking import MAX_ACTIVE_MS
from labeling.domain.fixing import MAX_CHARS
from labeling.domain.judging import Vote, show_vote
from labeling.models import Judgment, Project, Skip, Slot


class ProjectSerializer(serializers.ModelSerializer):
    waiting = serializers.IntegerField(help_text="Comparisons that wait for you.")
    judged_today = serializers.IntegerField(help_text="Your judgments since midnight, UTC.")
    axes = serializers.ListField(child=serializers.CharField(), help_text="Qualities you may judge besides.")
    reasons = serializers.ListField(child=serializers.CharField(), help_text="Words you may give as reasons.")

    class Meta:
        model = Project
        fields = ("slug", "name", "description", "scale", "axes", "reasons", "asks_fixes", "waiting", "judged_today")


class MessageSerializer(serializers.Serializer):
    role = serializers.CharField()
    content = serializers.CharField()


class ClaimSerializer(serializers.Serializer):
    """A pair as it is shown to you, and the lease under which you hold it."""

    slot = serializers.IntegerField()
    lease_token = serializers.UUIDField()
    lease_until = serializers.DateTimeField()
    messages = MessageSerializer(many=True)
    left = serializers.CharField()
    right = serializers.CharField()

    def to_representation(self, slot: Slot) -> dict[str, Any]:
        return show_claim(slot)


class GivenSerializer(serializers.Serializer):
    """The slot you were given, and the proof of it."""

    slot = serializers.IntegerField(min_value=1)
    lease_token = serializers.UUIDField()
    claim_next = serializers.BooleanField(default=False, help_text="Answer with the next claim, too.")


class RenewalSerializer(serializers.Serializer):
    lease_token = serializers.UUIDField()


class LeaseSerializer(serializers.Serializer):
    lease_until = serializers.DateTimeField()


class TraceSerializer(serializers.Serializer):
    """How the vote was made, as far as the client knows; what it does not know, it leaves out."""

    first_input_ms = serializers.IntegerField(required=False, help_text="From the showing to the first key or click.")
    visible_left_ms = serializers.IntegerField(required=False)
    visible_right_ms = serializers.IntegerField(required=False)
    scrolled_left = serializers.BooleanField(required=False, help_text="To its end.")
    scrolled_right = serializers.BooleanField(required=False)
    paste_count = serializers.IntegerField(required=False)
    paste_chars = serializers.IntegerField(required=False)
    input_method = serializers.ChoiceField(required=False, choices=["key", "mouse", "touch"])
    viewport = serializers.CharField(required=False, help_text="WIDTHxHEIGHT")
    render = serializers.ChoiceField(required=False, choices=["raw", "rendered"])
    used_diff = serializers.BooleanField(required=False)
    used_sync = serializers.BooleanField(required=False)
    layout = serializers.ChoiceField(required=False, choices=["side", "stacked"])
    ui_version = serializers.CharField(required=False)
    axes_first = serializers.BooleanField(required=False)


@extend_schema_field(TraceSerializer)
class TraceField(serializers.DictField):
    """Read leniently: nobody loses a vote over how it was made."""


class NewJudgmentSerializer(GivenSerializer):
    """A vote on a claim. The Idempotency-Key header may stand in for the field."""

    idempotency_key = serializers.UUIDField(required=False)
    preference = serializers.IntegerField(
        min_value=-4,
        max_value=4,
        help_text="-3 left is much better .. 0 about the same .. +3 right is much better; on the scales without a tie "
        "-4 .. -1 and 1 .. 4.",
    )
    scale = serializers.ChoiceField(choices=Project.Scale.choices, default=Project.Scale.SEVEN)
    both_bad = serializers.BooleanField(default=False)
    unsafe_left = serializers.BooleanField(default=False)
    unsafe_right = serializers.BooleanField(default=False)
    note = serializers.CharField(default="", allow_blank=True, max_length=10_000, trim_whitespace=False)
    active_ms = serializers.IntegerField(default=0, min_value=0, max_value=MAX_ACTIVE_MS)
    axes = serializers.DictField(
        child=serializers.IntegerField(min_value=-3, max_value=3), default=dict, help_text="By name, as preference."
    )
    reasons = serializers.ListField(child=serializers.CharField(), default=list, help_text="Of the project's reasons.")
    fix = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MAX_CHARS,
        trim_whitespace=False,
        help_text="The better completion, rewritten.",
    )
    trace = TraceField(default=dict)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As its parent does, but what a vote leaves out, which is most, is as its field says and needs no check."""
        if not isinstance(data, dict):
            return super().to_internal_value(data)
        said, refused = {}, {}
        for name, field in self.fields.items():
            if name in data or field.required:
                try:
                    said[name] = field.run_validation(data.get(name, empty))
                except serializers.ValidationError as error:
                    refused[name] = error.detail
            elif field.default is not empty:
                said[name] = field.default() if callable(field.default) else field.default
        if refused:
            raise serializers.ValidationError(refused)
        return said


class NextSerializer(serializers.Serializer):
    """What comes with claim_next."""

    next = ClaimSerializer(required=False, allow_null=True, help_text="With claim_next: the next claim, null for none.")
    empty = serializers.CharField(required=False, allow_null=True, help_text="With claim_next: why there is none.")


class NewSkipSerializer(GivenSerializer):
    reason = serializers.ChoiceField(choices=Skip.Reason.choices)


class JudgmentSerializer(serializers.Serializer):
    """Your judgment, in the words of what you were shown."""

    id = serializers.IntegerField()
    idempotency_key = serializers.UUIDField()
    preference = serializers.IntegerField()
    scale = serializers.CharField()
    both_bad = serializers.BooleanField()
    unsafe_left = serializers.BooleanField()
    unsafe_right = serializers.BooleanField()
    axes = serializers.DictField(child=serializers.IntegerField())
    reasons = serializers.ListField(child=serializers.CharField())
    note = serializers.CharField()
    fix = serializers.CharField()
    is_extra = serializers.BooleanField(
        help_text="It came after its slot had gone to someone else; a freeze counts it unless its rule says otherwise."
    )
    submitted_at = serializers.DateTimeField()

    def to_representation(self, judgment: Judgment) -> dict[str, Any]:
        return show_judgment(judgment)


JUDGMENT_FIELDS = tuple(JudgmentSerializer._declared_fields)


class JudgmentPageSerializer(serializers.Serializer):
    """A page of your judgments, and where the pages beside it are."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = JudgmentSerializer(many=True)


class StoredJudgmentSerializer(NextSerializer, JudgmentSerializer):
    """Your judgment as it is stored, and what you asked for besides."""


class StoredSkipSerializer(NextSerializer):
    reason = serializers.ChoiceField(choices=Skip.Reason.choices)


class RefusalSerializer(serializers.Serializer):
    detail = serializers.CharField()


def add_key(said: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what a vote says, with the key of its Idempotency-Key header where it names none itself."""
    if "idempotency_key" in said:
        return said
    try:
        return said | {"idempotency_key": uuid.UUID(headers.get("Idempotency-Key", "").strip('"'))}
    except ValueError as error:
        raise serializers.ValidationError(
            {"idempotency_key": ["Send a UUID of your own making, here or as the Idempotency-Key header."]}
        ) from error


def to_vote(said: Mapping[str, Any]) -> Vote:
    return Vote(**{name: said[name] for name in Vote.__dataclass_fields__})


def show_claim(slot: Slot) -> dict[str, Any]:
    """Return what ClaimSerializer declares: to run a copy of each field for every claim cost more than to read it."""
    a, b = slot.comparison.completion_a.text, slot.comparison.completion_b.text
    left, right = (a, b) if slot.a_shown_left else (b, a)
    return {
        "slot": slot.pk,
        "lease_token": slot.lease_token,
        "lease_until": slot.lease_until,
        "messages": slot.comparison.prompt.messages,
        "left": left,
        "right": right,
    }


def show_judgment(judgment: Judgment) -> dict[str, Any]:
    """Return what JudgmentSerializer declares."""
    vote = show_vote(judgment)
    said = {name: getattr(judgment, name) for name in ("id", "idempotency_key", "is_extra", "submitted_at")}
    return {name: said[name] if name in said else getattr(vote, name) for name in JUDGMENT_FIELDS}
