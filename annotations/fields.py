"""Fields that doors of several rooms share."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from annotations.states import TASK_ALIASES, TaskType


class OneOf(serializers.ChoiceField):
    """One of a few words; whoever sends another is told which there are."""

    def __init__(self, choices: Any, **kwargs: Any) -> None:
        super().__init__(choices, **kwargs)
        self.error_messages["invalid_choice"] = f"must be one of {', '.join(map(str, self.choices))}."


class TaskField(serializers.ChoiceField):
    """A task by its name or one of its aliases; stored normalised."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=TaskType.choices, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """The internal name."""
        named = TASK_ALIASES.get(data, data) if isinstance(data, str) else None
        if named not in TaskType.values:
            raise serializers.ValidationError(f"must be one of {', '.join(TaskType.values)}.")
        return str(named)


class ImageIdField(serializers.CharField):
    """An image path exactly as sent: file names may begin or end with a space."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=900, trim_whitespace=False, **kwargs)


class SearchField(serializers.CharField):
    """A part of an image's path; empty means all."""

    def __init__(self) -> None:
        super().__init__(max_length=200, required=False, allow_blank=True, default="", trim_whitespace=False)


class TaskQuery(serializers.Serializer):
    """``?task_type`` of routes that work on one task; the first task when absent."""

    task_type = TaskField(required=False, default=None)


class TaskBody(serializers.Serializer):
    """A task to add."""

    task_type = TaskField()


class ClassBody(serializers.Serializer):
    """A new class."""

    class_id = serializers.CharField(required=False, max_length=64)
    name = serializers.CharField(max_length=200, trim_whitespace=True)
    color = serializers.CharField(max_length=7)
    description = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    supercategory = serializers.CharField(required=False, max_length=200)
    keypoints = serializers.ListField(child=serializers.CharField(max_length=100), required=False, max_length=1000)
    skeleton = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField(min_value=1), min_length=2, max_length=2),
        required=False,
        max_length=5000,
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A skeleton joins points there are, counted from 1."""
        beyond = [pair for pair in attrs.get("skeleton", []) if max(pair) > len(attrs.get("keypoints", []))]
        if beyond:
            count = len(attrs.get("keypoints", []))
            raise serializers.ValidationError({"skeleton": f"joins {beyond[0]}, but there are {count} keypoints."})
        return attrs
