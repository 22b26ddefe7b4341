"""Train, judge, register and serve one classifier per genetic AML subtype against healthy control."""
