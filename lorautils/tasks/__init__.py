"""The course's three tasks: English -> cron, an order -> JSON, help with git; their cases, and how people say them."""
