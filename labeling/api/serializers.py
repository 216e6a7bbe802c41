"""What programs send and get; serializers alone read request.data. Left and right are as shown: no content A or B,
and nothing of who wrote what."""

from __future__ import annotations

import uuid
from typing import Any

from rest_framework import serializers

from labeling.domain.judging import MAX_ACTIVE_MS, Vote, show_vote
from labeling.domain.showing import show_pair
from labeling.models import Judgment, Project, Slot


class ProjectSerializer(serializers.ModelSerializer):
    waiting = serializers.IntegerField(help_text="Comparisons that wait for you.")
    judged_today = serializers.IntegerField(help_text="Your judgments since midnight, UTC.")

    class Meta:
        model = Project
        fields = ("slug", "name", "description", "scale", "waiting", "judged_today")


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
        pair = show_pair(slot.comparison, a_shown_left=slot.a_shown_left)
        return super().to_representation(
            {
                "slot": slot.pk,
                "lease_token": slot.lease_token,
                "lease_until": slot.lease_until,
                "messages": slot.comparison.prompt.messages,
                "left": pair.left.text,
                "right": pair.right.text,
            }
        )


class NewJudgmentSerializer(serializers.Serializer):
    """A vote on a claim. The Idempotency-Key header may stand in for the field."""

    slot = serializers.IntegerField(min_value=1)
    lease_token = serializers.UUIDField()
    idempotency_key = serializers.UUIDField(required=False)
    preference = serializers.IntegerField(
        min_value=-3, max_value=3, help_text="-3 left is much better .. 0 about the same .. +3 right is much better."
    )
    scale = serializers.ChoiceField(choices=Project.Scale.choices, default=Project.Scale.SEVEN)
    both_bad = serializers.BooleanField(default=False)
    unsafe_left = serializers.BooleanField(default=False)
    unsafe_right = serializers.BooleanField(default=False)
    note = serializers.CharField(default="", allow_blank=True, max_length=10_000, trim_whitespace=False)
    active_ms = serializers.IntegerField(default=0, min_value=0, max_value=MAX_ACTIVE_MS)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        header = self.context["request"].headers.get("Idempotency-Key", "")
        if "idempotency_key" not in attrs:
            attrs["idempotency_key"] = read_key(header)
        return attrs

    def to_vote(self) -> Vote:
        said = self.validated_data
        return Vote(**{name: said[name] for name in Vote.__dataclass_fields__})


class JudgmentSerializer(serializers.Serializer):
    """Your judgment, in the words of what you were shown."""

    id = serializers.IntegerField()
    idempotency_key = serializers.UUIDField()
    preference = serializers.IntegerField()
    scale = serializers.CharField()
    both_bad = serializers.BooleanField()
    unsafe_left = serializers.BooleanField()
    unsafe_right = serializers.BooleanField()
    note = serializers.CharField()
    is_extra = serializers.BooleanField(
        help_text="It came after its slot had gone to someone else; a freeze counts it unless its rule says otherwise."
    )
    submitted_at = serializers.DateTimeField()

    def to_representation(self, judgment: Judgment) -> dict[str, Any]:
        said = {name: getattr(judgment, name) for name in ("id", "idempotency_key", "is_extra", "submitted_at")}
        return super().to_representation(said | vars(show_vote(judgment)))


class RefusalSerializer(serializers.Serializer):
    detail = serializers.CharField()


def read_key(text: str) -> uuid.UUID:
    """Return the key of an Idempotency-Key header."""
    try:
        return uuid.UUID(text.strip('"'))
    except ValueError as error:
        raise serializers.ValidationError(
            {"idempotency_key": "Send a UUID of your own making, here or as the Idempotency-Key header."}
        ) from error
