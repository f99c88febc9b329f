"""Makes the operators' site the one that Django's admin registers with."""

from django.contrib.admin.apps import AdminConfig


class OperatorsAdminConfig(AdminConfig):
    default_site = "apps.accounts.operators.OperatorsSite"
