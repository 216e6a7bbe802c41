"""Addresses of the pages on which people judge."""

app_name = "labeling"
urlpatterns: list = []  # type: ignore[type-arg]
