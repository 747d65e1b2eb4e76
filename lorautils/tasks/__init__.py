"""The course's two tasks: English -> cron, and an order -> JSON; their test cases, and how people say such things."""
