import pytest

from annotations.models import PlatformDataset, Project


@pytest.mark.django_db(databases=["default", "platform"])
def test_db(platform_rows):
    platform_rows(datasets=[("d", "n", 3)])
    assert Project.objects.count() == 0
    assert PlatformDataset.objects.get().name == "n"


@pytest.mark.django_db(transaction=True)
def test_db2(stores, put_object):
    put_object("platform", "a/b.txt", b"x")
