# What each step of the method is worth: the tables behind the target 'ablation'.


use rule index as ablation_table with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        scores=stage.reads("scores"),
    output:
        f"{BASE}/{{folder,ablation}}/manifest.json",
        report(
            f"{BASE}/{{folder}}/ablation.md",
            caption="../report/ablation.rst",
            category="Results",
        ),
        f"{BASE}/{{folder}}/ablation.csv",
