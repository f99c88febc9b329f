"""API of members and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action

from apps.accounts import commands
from apps.accounts.filters import MemberFilter, TokenFilter
from apps.accounts.models import ApiToken, User
from apps.accounts.queries import members
from apps.core.api import ResourceViewSet
from apps.core.serializers import StrictSerializer

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request
    from rest_framework.response import Response


class MemberSerializer(serializers.ModelSerializer[User]):
    """A member as the API shows one."""

    role = serializers.CharField(read_only=True, allow_null=True)

    class Meta:
        model = User
        fields = ("id", "email", "name", "role", "is_active", "date_joined", "last_login")


class NewMember(StrictSerializer):
    """Body of adding a member."""

    email = serializers.EmailField()
    role = serializers.CharField(max_length=80)
    name = serializers.CharField(max_length=120, required=False, allow_blank=True)


class NewRole(StrictSerializer):
    """Body of changing a role."""

    role = serializers.CharField(max_length=80)


class MemberViewSet(ResourceViewSet[User]):
    """Members of the organization."""

    queryset = members()
    serializer_class = MemberSerializer
    filterset_class = MemberFilter
    ordering = "-date_joined"

    @extend_schema(request=NewMember, responses={201: MemberSerializer})
    def create(self, request: Request) -> Response:
        """Add a member; a link to set a password is sent by mail."""

        def act() -> Response:
            user = commands.create_user(actor=self.actor, **self.validated(NewMember))
            return self.answer(members().get(pk=user.pk), status=201)

        return self.once(request, act)

    @extend_schema(request=NewRole, responses=MemberSerializer)
    @action(detail=True, methods=["post"])
    def role(self, request: Request, pk: str | None = None) -> Response:
        """Give a member another role."""
        user = self.get_object()

        def act() -> Response:
            commands.change_role(actor=self.actor, user=user, **self.validated(NewRole))
            return self.answer(members().get(pk=user.pk))

        return self.once(request, act)

    @extend_schema(request=None, responses=MemberSerializer)
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, pk: str | None = None) -> Response:
        """End a member's access at once."""
        return self._change(request, commands.deactivate)

    @extend_schema(request=None, responses=MemberSerializer)
    @action(detail=True, methods=["post"])
    def reactivate(self, request: Request, pk: str | None = None) -> Response:
        """Let a deactivated member in again."""
        return self._change(request, commands.reactivate)

    def _change(self, request: Request, command: Any) -> Response:
        user = self.get_object()

        def act() -> Response:
            command(actor=self.actor, user=user)
            return self.answer(members().get(pk=user.pk))

        return self.once(request, act)


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """A token without its secret."""

    class Meta:
        model = ApiToken
        fields = ("id", "name", "public_id", "created_at", "last_used_at", "expires_at", "revoked_at")


class CreatedToken(serializers.ModelSerializer[ApiToken]):
    """A token with its text, in the answer to its making only; null in a replayed answer."""

    token = serializers.CharField(read_only=True, allow_null=True)

    class Meta:
        model = ApiToken
        fields = (*TokenSerializer.Meta.fields, "token")


class NewToken(StrictSerializer):
    """Body of making a token."""

    name = serializers.CharField(max_length=80)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class TokenViewSet(ResourceViewSet[ApiToken]):
    """One's own API tokens."""

    queryset = ApiToken.objects.all()
    serializer_class = TokenSerializer
    filterset_class = TokenFilter
    secret_fields = frozenset({"token"})

    def get_queryset(self) -> QuerySet[ApiToken]:
        queryset = super().get_queryset()
        return queryset.filter(user_id=self.actor.id) if self.actor.id else queryset.none()

    @extend_schema(request=NewToken, responses={201: CreatedToken})
    def create(self, request: Request) -> Response:
        """Make a token that acts as oneself. Its text is in this answer and nowhere else."""

        def act() -> Response:
            assert self.actor.user is not None
            token, text = commands.create_token(actor=self.actor, user=self.actor.user, **self.validated(NewToken))
            return self.answer(token, status=201, token=str(text))

        return self.once(request, act)

    @extend_schema(request=None, responses=TokenSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str | None = None) -> Response:
        """End a token at once."""
        token = self.get_object()
        return self.once(request, lambda: self.answer(commands.revoke_token(actor=self.actor, token=token)))
