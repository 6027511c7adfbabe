"""Local work, learners, partitions and tasks."""
