"""Tests of whether two samples of images come from one distribution, as functions of feature arrays [n, d]."""
