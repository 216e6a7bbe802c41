"""The administration: accounts are edited here, on the trail; all else is only read, and changed in its own pages."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse

from labeling.domain.audit import record_event
from labeling.models import AuditEvent, Comparison, Guideline, Import, Judgment, Membership, Project, Skip, User


class ReadOnly:
    """Rows that only the domain may write."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """Counting millions of rows for a page header is spared."""

    show_full_result_count = False


class MembershipInline(ReadOnly, admin.TabularInline):
    model = Membership
    extra = 0


class OnTrail(admin.ModelAdmin):
    """Rows whose every change is on the trail, with what each field said before and says now. name: its verbs' first half."""

    name: str

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        names = [name for name in form.changed_data if "password" not in name]
        before = {name: form.initial.get(name) for name in names} if change else {}
        after = {name: form.cleaned_data.get(name) for name in names}
        record_event(
            f"{self.name}.edit" if change else f"{self.name}.add",
            obj,
            actor=request.user,
            project=None,
            before={name: to_json(value) for name, value in before.items()},
            after={name: to_json(value) for name, value in after.items()},
        )

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        record_event(f"{self.name}.delete", obj, actor=request.user, project=None)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            record_event(f"{self.name}.delete", row, actor=request.user, project=None)
        super().delete_queryset(request, queryset)


@admin.register(User)
class PersonAdmin(OnTrail, UserAdmin):
    name = "user"
    inlines = (MembershipInline,)
    list_display = ("username", "email", "kind", "is_active", "is_staff")
    list_filter = ("kind", "is_active", "is_staff")

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        response = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            record_event("user.password", User.objects.get(pk=id), actor=request.user, project=None)
        return response


admin.site.unregister(Group)


@admin.register(Group)
class RightsAdmin(OnTrail, GroupAdmin):
    name = "group"


def to_json(value: Any) -> Any:
    """Return a value of a form as the trail keeps it; of several rows their names."""
    if isinstance(value, list | QuerySet):
        return sorted(str(row) for row in value)
    return value if isinstance(value, bool | int | str | None) else str(value)


@admin.register(Project)
class ProjectAdmin(ReadOnlyAdmin):
    inlines = (MembershipInline,)
    list_display = ("name", "slug", "scale", "overlap", "lease_s", "is_archived")


@admin.register(Judgment)
class JudgmentAdmin(ReadOnlyAdmin):
    list_display = ("id", "comparison", "labeler", "verdict", "strength", "is_extra", "submitted_at")
    list_select_related = ("comparison", "labeler")
    list_filter = ("comparison__project", "verdict", "is_extra")


@admin.register(Comparison)
class ComparisonAdmin(ReadOnlyAdmin):
    list_display = ("id", "project", "prompt", "overlap", "priority", "created_at")
    list_select_related = ("project", "prompt")
    list_filter = ("project",)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "verb", "subject", "actor", "project")
    list_select_related = ("actor", "project")


admin.site.register([Guideline, Skip, Import], ReadOnlyAdmin)
