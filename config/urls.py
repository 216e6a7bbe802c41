"""Every address of the house."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from config.csp import with_sources

# One door for everyone: the same login, with the same limits.
admin.site.login = secure_admin_login(admin.site.login)
# Swagger writes style attributes; nothing of ours is shown on that page.
show_docs = SpectacularSwaggerSplitView.as_view(url_name="schema")
show_docs = login_required(with_sources(show_docs, {"style-src": ["'self'", "'unsafe-inline'"]}))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.account.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", show_docs, name="docs"),
    path("api/v1/", include("labeling.api.urls")),
    path("api/v1/", include("rlhf.api.urls")),
    path("", include("labeling.urls")),
    path("", include("rlhf.urls")),
]

handler500 = "config.outage.answer_failure"
