"""What a manager says about members, and what someone invited says about herself."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from labeling.models import Membership, Project, User


class ListForm(forms.Form):
    """Whom the list shows, and from which name on."""

    words = forms.CharField(
        required=False, max_length=100, label=_("Name or address"), widget=forms.TextInput({"type": "search"})
    )
    after = forms.CharField(required=False, max_length=150)


class AddForm(forms.Form):
    """Someone who has an account."""

    name = forms.CharField(max_length=254, label=_("User name or e-mail address"))
    role = forms.ChoiceField(choices=Membership.Role, label=_("Role"))


class InviteForm(forms.Form):
    """Someone who has none."""

    username = forms.CharField(
        max_length=150, label=_("User name"), help_text=_("What she will log in with: letters, digits and @ . + - _")
    )
    email = forms.EmailField(required=False, label=_("E-mail address"), help_text=_("If you like; no mail is sent."))
    role = forms.ChoiceField(choices=Membership.Role, label=_("Role"))


class WithdrawForm(forms.Form):
    invitation = forms.IntegerField(min_value=1)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Membership.Role, label=_("Role"))


class RoutingForm(forms.Form):
    """What a member is given; nothing ticked means all."""

    languages = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, label=_("Languages she judges")
    )
    slices = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, label=_("Slices she is skilled in")
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = list(project.slices.values_list("name", "language"))
        for field, values in (("slices", {name for name, _l in rows}), ("languages", {word for _n, word in rows})):
            self.fields[field].choices = [(value, value) for value in sorted(values) if value]  # type: ignore[attr-defined]


class PasswordForm(forms.Form):
    """The password someone invited chooses."""

    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), max_length=128, strip=False,
        label=_("Password"), help_text=_("Eight characters or more, not a common one."),
    )  # fmt: skip
    again = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), max_length=128, strip=False,
        label=_("The same again"),
    )  # fmt: skip

    def __init__(self, *args: Any, username: str, email: str, **kwargs: Any) -> None:
        self.user = User(username=username, email=email)
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        password, again = cleaned.get("password"), cleaned.get("again")
        if password and again and password != again:
            self.add_error("again", _("The two passwords differ: type them again."))
        elif password:
            try:
                validate_password(password, self.user)
            except ValidationError as error:
                self.add_error("password", error)
        return cleaned
