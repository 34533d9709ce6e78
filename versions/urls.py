"""Routes of this room, relative to ``/api/v1``; fixed words come before image paths, which may hold slashes."""

from django.urls import re_path

from versions.views.comparing import CompareViewSet
from versions.views.images import ImageViewSet
from versions.views.importing import FileImportViewSet
from versions.views.projects import DatasetViewSet, ProjectViewSet
from versions.views.restoring import JobViewSet, RestoreViewSet
from versions.views.saving import SaveViewSet, WorkingVersionViewSet
from versions.views.versions import DownloadViewSet, ExportViewSet, PublishViewSet, VersionViewSet

PROJECT = r"projects/(?P<project_id>[^/\x00]+)"
IMAGE = rf"{PROJECT}/images/(?P<image_id>[^\x00]+)"
VERSION = rf"{PROJECT}/versions/(?P<version_id>[^/\x00]+)"
COMPARE = r"version-diff/versions/(?P<a>-1|\d{1,19})/compare/(?P<b>-1|\d{1,19})"
UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"

urlpatterns = [
    re_path(r"^datasets/?$", DatasetViewSet.as_view({"get": "list"})),
    re_path(r"^projects/?$", ProjectViewSet.as_view({"get": "list", "post": "create"})),
    re_path(
        rf"^{PROJECT}/?$",
        ProjectViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    re_path(rf"^{PROJECT}/task-types/?$", ProjectViewSet.as_view({"post": "add_task"})),
    re_path(rf"^{PROJECT}/images/?$", ImageViewSet.as_view({"get": "list"})),
    re_path(rf"^{PROJECT}/images/next/?$", ImageViewSet.as_view({"get": "next"})),
    re_path(rf"^{PROJECT}/images/rescan/?$", ProjectViewSet.as_view({"post": "rescan"})),
    re_path(rf"^{PROJECT}/images/bulk-confirm/?$", ImageViewSet.as_view({"post": "bulk_confirm"})),
    re_path(rf"^{IMAGE}/confirm/?$", ImageViewSet.as_view({"post": "confirm"})),
    re_path(rf"^{IMAGE}/unconfirm/?$", ImageViewSet.as_view({"post": "unconfirm"})),
    re_path(
        r"^annotations/import/project/(?P<project_id>[^/\x00]+)/?$",
        RestoreViewSet.as_view({"post": "import_official"}, throttle_scope="import"),
    ),
    re_path(rf"^{PROJECT}/import/?$", FileImportViewSet.as_view({"post": "create"})),
    re_path(rf"^{PROJECT}/imports/(?P<job_id>{UUID})/report/?$", FileImportViewSet.as_view({"get": "report"})),
    re_path(rf"^{PROJECT}/working-version/?$", WorkingVersionViewSet.as_view({"get": "retrieve"})),
    re_path(rf"^{PROJECT}/working-version/save/?$", SaveViewSet.as_view({"post": "create"})),
    re_path(rf"^{PROJECT}/restore/?$", RestoreViewSet.as_view({"post": "restore"})),
    re_path(rf"^{PROJECT}/rollback/?$", RestoreViewSet.as_view({"post": "rollback"})),
    re_path(rf"^{PROJECT}/export/?$", ExportViewSet.as_view({"post": "create"})),
    re_path(rf"^{PROJECT}/versions/publish/?$", PublishViewSet.as_view({"post": "create"})),
    re_path(rf"^{PROJECT}/versions/publish/preview/?$", PublishViewSet.as_view({"get": "preview"})),
    re_path(rf"^{PROJECT}/versions/?$", VersionViewSet.as_view({"get": "list"})),
    re_path(rf"^{VERSION}/?$", VersionViewSet.as_view({"get": "retrieve"})),
    re_path(rf"^{VERSION}/snapshots/?$", VersionViewSet.as_view({"get": "snapshots"})),
    re_path(rf"^{VERSION}/platform-sync/?$", VersionViewSet.as_view({"post": "platform_sync"})),
    re_path(r"^versions/(?P<version_id>\d{1,19})/download/?$", DownloadViewSet.as_view({"get": "retrieve"})),
    re_path(rf"^{COMPARE}/?$", CompareViewSet.as_view({"get": "retrieve"})),
    re_path(rf"^{COMPARE}/summary/?$", CompareViewSet.as_view({"get": "summary"})),
    re_path(rf"^{COMPARE}/images/?$", CompareViewSet.as_view({"get": "images"})),
    re_path(rf"^jobs/(?P<job_id>{UUID})/?$", JobViewSet.as_view({"get": "retrieve"})),
]
