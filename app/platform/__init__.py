"""What the product runs on when it is given no Kafka: an embedded broker, a schema registry,
a Java to run them with, and a supervisor for child processes. For demo, tests and small trials.
"""
