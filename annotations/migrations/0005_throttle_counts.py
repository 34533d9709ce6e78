"""How often somebody did what is limited; not worth a write-ahead log."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotations", "0004_audit")]
    operations = [
        migrations.CreateModel(
            name="ThrottleCount",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("window_number", models.BigIntegerField()),
                ("count", models.PositiveIntegerField()),
            ],
            options={"db_table": "throttle_counts"},
        ),
        migrations.RunSQL("ALTER TABLE throttle_counts SET UNLOGGED", "ALTER TABLE throttle_counts SET LOGGED"),
    ]
