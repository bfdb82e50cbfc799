.PHONY: demo test lint lock help

help:
	@./run help

demo test lint lock:
	@./run $@
