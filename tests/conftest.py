"""Settings of the test run itself."""

from hypothesis import settings

# No deadline: a busy machine is no defect. The blob repeats a failure anywhere.
settings.register_profile("bazar", deadline=None, print_blob=True)
settings.load_profile("bazar")
