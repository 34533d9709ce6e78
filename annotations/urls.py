"""Routes of this room, relative to ``/api/v1``; a trailing slash is accepted everywhere."""

from django.urls import re_path

from annotations.views.account import MeViewSet, SignInViewSet
from annotations.views.annotations import AnnotationViewSet, BatchViewSet, ProjectAnnotationsViewSet
from annotations.views.history import AuditViewSet, ClassHistoryViewSet, HistoryViewSet, UndoViewSet
from annotations.views.images import ImageStatusViewSet, ReviewViewSet, SplitViewSet
from annotations.views.locks import LockViewSet
from annotations.views.projects import ClassViewSet, MemberViewSet, ProjectPartsViewSet

ANNOTATION = r"annotations/(?P<annotation_id>\d{1,19})"
LOCK = r"image-locks/(?P<project_id>[^/\x00]+)"
IMAGE = r"(?P<image_id>[^\x00]+?)"
PROJECT = r"projects/(?P<project_id>[^/\x00]+)"

urlpatterns = [
    re_path(r"^me/?$", MeViewSet.as_view({"get": "retrieve"})),
    re_path(r"^me/tokens/?$", MeViewSet.as_view({"get": "tokens", "post": "issue"})),
    re_path(r"^me/tokens/(?P<token_id>\d{1,18})/?$", MeViewSet.as_view({"delete": "revoke"})),
    re_path(r"^auth/token/?$", SignInViewSet.as_view({"post": "create"})),
    re_path(r"^annotations/?$", AnnotationViewSet.as_view({"post": "create"})),
    re_path(r"^annotations/batch/?$", BatchViewSet.as_view({"post": "create"})),
    re_path(r"^annotations/batch-update/?$", BatchViewSet.as_view({"post": "update"})),
    re_path(r"^annotations/batch-delete/?$", BatchViewSet.as_view({"post": "delete"})),
    re_path(r"^annotations/bulk-confirm/?$", BatchViewSet.as_view({"post": "confirm"})),
    re_path(
        r"^annotations/history/project/(?P<project_id>[^/\x00]+)/?$", HistoryViewSet.as_view({"get": "of_project"})
    ),
    re_path(
        r"^annotations/history/annotation/(?P<annotation_id>\d{1,19})/?$",
        HistoryViewSet.as_view({"get": "of_annotation"}),
    ),
    re_path(r"^annotations/history/(?P<history_id>\d{1,19})/undo/?$", HistoryViewSet.as_view({"post": "undo"})),
    re_path(rf"^{PROJECT}/annotations/undo/?$", UndoViewSet.as_view({"post": "undo"})),
    re_path(rf"^{PROJECT}/annotations/restore-deleted/?$", UndoViewSet.as_view({"post": "restore_deleted"})),
    re_path(r"^annotations/project/(?P<project_id>[^/\x00]+)/?$", ProjectAnnotationsViewSet.as_view({"get": "list"})),
    re_path(
        rf"^{ANNOTATION}/?$",
        AnnotationViewSet.as_view({"get": "retrieve", "put": "update", "patch": "update", "delete": "destroy"}),
    ),
    re_path(rf"^{ANNOTATION}/confirm/?$", AnnotationViewSet.as_view({"post": "confirm"})),
    re_path(rf"^{ANNOTATION}/unconfirm/?$", AnnotationViewSet.as_view({"post": "unconfirm"})),
    re_path(rf"^{ANNOTATION}/verify/?$", AnnotationViewSet.as_view({"post": "verify"})),
    re_path(rf"^{PROJECT}/stats/?$", ProjectPartsViewSet.as_view({"get": "stats"})),
    re_path(r"^datasets/(?P<dataset_id>[^/\x00]+)/project/?$", ProjectPartsViewSet.as_view({"get": "of_dataset"})),
    re_path(rf"^{PROJECT}/classes/?$", ClassViewSet.as_view({"get": "list", "post": "create"})),
    re_path(rf"^{PROJECT}/classes/reorder/?$", ClassViewSet.as_view({"put": "reorder"})),
    re_path(rf"^{PROJECT}/classes/history/?$", ClassHistoryViewSet.as_view({"get": "list"})),
    re_path(
        rf"^{PROJECT}/classes/history/(?P<history_id>\d{{1,19}})/undo/?$",
        ClassHistoryViewSet.as_view({"post": "undo"}),
    ),
    re_path(
        rf"^{PROJECT}/classes/(?P<class_id>[^/\x00]+)/?$",
        ClassViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    re_path(rf"^{PROJECT}/audit/?$", AuditViewSet.as_view({"get": "list"})),
    re_path(rf"^{PROJECT}/members/?$", MemberViewSet.as_view({"get": "list", "post": "create"})),
    re_path(
        rf"^{PROJECT}/members/(?P<user_id>[^\x00]+?)/?$",
        MemberViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    re_path(rf"^{PROJECT}/review-queue/?$", ReviewViewSet.as_view({"get": "list"})),
    re_path(rf"^{PROJECT}/images/(?P<image_id>[^\x00]+)/verify/?$", ReviewViewSet.as_view({"post": "verify"})),
    re_path(rf"^{PROJECT}/images/split/?$", SplitViewSet.as_view({"post": "create"})),
    re_path(rf"^{LOCK}/?$", LockViewSet.as_view({"get": "list"})),
    re_path(rf"^{LOCK}/{IMAGE}/acquire/?$", LockViewSet.as_view({"post": "acquire"})),
    re_path(rf"^{LOCK}/{IMAGE}/heartbeat/?$", LockViewSet.as_view({"post": "heartbeat"})),
    re_path(rf"^{LOCK}/{IMAGE}/status/?$", LockViewSet.as_view({"get": "retrieve"})),
    re_path(rf"^{LOCK}/{IMAGE}/force/?$", LockViewSet.as_view({"delete": "force"})),
    re_path(rf"^{LOCK}/{IMAGE}/?$", LockViewSet.as_view({"delete": "release"})),
    re_path(rf"^{PROJECT}/images/status/?$", ImageStatusViewSet.as_view({"get": "list"})),
]
