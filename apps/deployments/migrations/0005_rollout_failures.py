"""A rollout remembers how often in a row Studio failed to take its next step, and when it tries again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deployments", "0004_stops")]

    operations = [
        migrations.AddField(
            model_name="rollout", name="failures", field=models.PositiveIntegerField(default=0)
        ),
        migrations.AddField(
            model_name="rollout",
            name="failure",
            field=models.CharField(blank=True, default="", max_length=120),
        ),
        migrations.AddField(model_name="rollout", name="retry_at", field=models.DateTimeField(null=True)),
    ]
