from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('gateways', '0003_placement_receipts'),
    ]

    operations = [
        migrations.AddField(
            model_name='gateway',
            name='labels',
            field=models.JSONField(blank=True, default=dict),
        ),
    ]
