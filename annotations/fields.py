"""Fields that doors of several rooms share."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from annotations.states import TASK_ALIASES, TaskType


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
