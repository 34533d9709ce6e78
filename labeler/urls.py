"""The address book."""

from django.contrib import admin
from django.urls import path

from labeler.files import file_link

urlpatterns = [path("admin/", admin.site.urls), path("files/<str:token>", file_link, name="file-link")]
