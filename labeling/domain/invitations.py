"""Invitations: a link with which someone makes her own account and joins one project, once, within a week.

The trail keeps what was invited and what became of it. A link is the signed number of its event, and holds while
nothing later was said of that name: accepted, withdrawn or replaced by another, it is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.errors import LabelingError
from labeling.models import AuditEvent, Membership, Project, User

DAYS = 7
SIGNER = signing.TimestampSigner(salt="labeling.invitation")
INVITE, WITHDRAW, JOIN = "member.invite", "member.uninvite", "member.join"


class InvitationGone(LabelingError):
    """The link was used, withdrawn or replaced, has expired, or never was one."""


class AlreadyThere(LabelingError):
    """Someone has this name or address already."""


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """Who is invited where, as what."""

    pk: int
    project: Project
    username: str
    email: str
    role: str
    by: User | None
    until: datetime

    @property
    def role_name(self) -> str:
        return str(Membership.Role(self.role).label)


@transaction.atomic
def invite(project: Project, actor: User, *, username: str, email: str = "", role: str) -> str:
    """Return the token of a new invitation, which replaces an earlier one of the same name."""
    try:
        UnicodeUsernameValidator()(username)
    except ValidationError as error:
        raise AlreadyThere(" ".join(error.messages)) from error
    if User.objects.filter(username=username).exists():
        raise AlreadyThere(_("“%s” has an account already: add her as a member instead.") % username)
    if email and User.objects.filter(email__iexact=email).exists():
        raise AlreadyThere(_("“%s” has an account already: add her as a member instead.") % email)
    facts = {"role": Membership.Role(role).value, "email": email}
    event = record_event(INVITE, username, actor=actor, project=project, after=facts)
    return SIGNER.sign_object({"invitation": event.pk})


@transaction.atomic
def withdraw(invitation: Invitation, actor: User) -> None:
    """Let the link open nothing any more."""
    if is_open(invitation.pk, invitation.project, invitation.username):
        record_event(WITHDRAW, invitation.username, actor=actor, project=invitation.project)


def read_invitation(token: str) -> Invitation:
    """Return what a link invites to. Raises: InvitationGone."""
    try:
        pk = int(SIGNER.unsign_object(token, max_age=timedelta(days=DAYS))["invitation"])
    except (signing.BadSignature, KeyError, TypeError, ValueError) as error:
        raise InvitationGone(_("This invitation is used or too old: ask for another.")) from error
    event = AuditEvent.objects.filter(pk=pk, verb=INVITE).select_related("project", "actor").first()
    if event is None or event.project is None or not is_open(pk, event.project, event.subject):
        raise InvitationGone(_("This invitation is used or too old: ask for another."))
    return make_invitation(event, event.project)


def is_open(pk: int, project: Project, username: str) -> bool:
    """Say whether nothing came of an invitation yet."""
    later = AuditEvent.objects.filter(project=project, pk__gt=pk, subject=username, verb__in=[INVITE, WITHDRAW, JOIN])
    return not later.exists() and not User.objects.filter(username=username).exists()


def make_invitation(event: AuditEvent, project: Project) -> Invitation:
    return Invitation(
        pk=event.pk,
        project=project,
        username=event.subject,
        email=event.after["email"],
        role=event.after["role"],
        by=event.actor,
        until=event.at + timedelta(days=DAYS),
    )


def list_invitations(project: Project) -> list[Invitation]:
    """Return the invitations nothing came of yet, newest first, in a constant number of queries."""
    since = timezone.now() - timedelta(days=DAYS)
    events = AuditEvent.objects.filter(project=project, verb__in=[INVITE, WITHDRAW, JOIN], at__gt=since)
    newest: dict[str, AuditEvent] = {}
    for event in events.select_related("actor").order_by("-id"):
        newest.setdefault(event.subject, event)
    taken = set(User.objects.filter(username__in=newest).values_list("username", flat=True))
    return [
        make_invitation(event, project)
        for event in newest.values()
        if event.verb == INVITE and event.subject not in taken
    ]


def accept_invitation(token: str, *, password: str) -> tuple[User, Project]:
    """Make the account and the membership; of two who follow a link at once, the second is told that it is used."""
    invitation = read_invitation(token)
    project = invitation.project
    try:
        with transaction.atomic():
            user = User.objects.create_user(invitation.username, email=invitation.email, password=password)
            Membership.objects.create(project=project, user=user, role=invitation.role)
            record_event(JOIN, user, actor=user, project=project, after={"role": invitation.role})
    except IntegrityError as error:
        raise InvitationGone(_("This invitation is used or too old: ask for another.")) from error
    return user, project
