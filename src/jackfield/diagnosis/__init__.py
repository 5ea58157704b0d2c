"""Diagnosis: what keeps guests from their network, found out from values alone."""
