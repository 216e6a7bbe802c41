"""The administration: people and projects may be edited; what was judged may only be read."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from labeling.models import Comparison, Guideline, Import, Judgment, Membership, Project, Skip, User


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that only the domain may write. Counting millions of them for a page header is spared."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(User)
class PersonAdmin(UserAdmin):
    inlines = (MembershipInline,)
    list_display = ("username", "email", "kind", "is_active", "is_staff")
    list_filter = ("kind", "is_active", "is_staff")


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):
    inlines = (MembershipInline,)
    list_display = ("name", "slug", "scale", "overlap", "lease_s")


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


admin.site.register([Guideline, Skip, Import], ReadOnlyAdmin)
