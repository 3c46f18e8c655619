"""Many trainings and evaluations of one question, and the page that answers it."""
