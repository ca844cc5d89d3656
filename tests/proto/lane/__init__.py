"""Tests of the lane, against grpcio as the client and against scripted HTTP/2."""
