from django.db import migrations


def fill(apps, schema_editor):
    """Give what ran before plans existed its last good release, and what is under way its one step."""
    Deployment = apps.get_model('deployments', 'Deployment')
    Rollout = apps.get_model('deployments', 'Rollout')
    RolloutStep = apps.get_model('deployments', 'RolloutStep')
    for deployment in Deployment.objects.all():
        last = deployment.rollouts.filter(state='succeeded').order_by('-generation').first()
        if last is not None:
            Deployment.objects.filter(pk=deployment.pk).update(stable_release=last.to_release_id)
    for rollout in Rollout.objects.filter(state='progressing'):
        RolloutStep.objects.create(
            rollout=rollout, index=0, kind='wave', share='100 %',
            started_at=rollout.created_at, watched_since=rollout.created_at,
        )


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0002_rollout_plans'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
