"""What each rule of the workflow does: the module has the name of the rule and of the program in ``stages/``."""
