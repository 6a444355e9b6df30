"""What the product stands on when nobody gives it a Kafka: an embedded broker, a schema registry,
a Java to run them with, and a supervisor for child processes. For demo, tests and small trials.
"""
