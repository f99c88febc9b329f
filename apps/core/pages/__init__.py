"""The generic pages. A page of an app is a declaration on one of these; see `docs/frontend.md`."""

from apps.core.pages.actions import ActionButton as ActionButton
from apps.core.pages.base import EmptyState as EmptyState
from apps.core.pages.base import Page as Page
from apps.core.pages.changes import CommandPage as CommandPage
from apps.core.pages.changes import ConfirmPage as ConfirmPage
from apps.core.pages.changes import PostPage as PostPage
from apps.core.pages.details import DetailPage as DetailPage
from apps.core.pages.details import Tab as Tab
from apps.core.pages.filters import FilterSet as FilterSet
from apps.core.pages.filters import FlagFilter as FlagFilter
from apps.core.pages.filters import SearchFilter as SearchFilter
from apps.core.pages.lists import ListPage as ListPage
