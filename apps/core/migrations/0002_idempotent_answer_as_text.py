"""An idempotent answer is kept as JSON text, which keeps the order of its members."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="idempotencyrecord",
            name="body",
            field=models.TextField(null=True),
        ),
    ]
