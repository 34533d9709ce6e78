"""The address book."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.i18n import JavaScriptCatalog, set_language
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from annotations.throttles import PatientSignIn
from labeler import errors, pages
from labeler.files import file_link

urlpatterns = [
    path("", pages.start, name="start"),
    path("projects/<str:project_id>", pages.project, name="project"),
    path("projects/<str:project_id>/label", pages.label, name="label"),
    path("favicon.ico", pages.favicon, name="favicon"),
    path("signed-in/", pages.signed_in, name="signed-in"),
    path("language/", set_language, name="set_language"),
    path("words.js", JavaScriptCatalog.as_view(packages=["labeler"]), name="words"),
    path("api/v1/", include("annotations.urls")),
    path("api/v1/", include("versions.urls")),
    path("api/schema/", SpectacularAPIView.as_view(permission_classes=[]), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema", permission_classes=[]), name="docs"),
    path("accounts/login/", LoginView.as_view(authentication_form=PatientSignIn), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("files/", file_link, name="file-link"),
]

handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.server_error
