"""What labeling tells whoever listens; it knows of nobody who does."""

from django.dispatch import Signal

# A labeler's first word on a comparison was stored, in a transaction that may still fail. Sent with: judgment, which has its
# key only once the transaction is over, where statements share trips.
judgment_stored = Signal()
