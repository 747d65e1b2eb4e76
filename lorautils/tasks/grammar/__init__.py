"""How people say a schedule, and which schedules there are: what the training data of the cron task is made of."""
