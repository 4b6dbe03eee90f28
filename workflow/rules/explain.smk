# Explanations of classifiers and segmentation networks, measured and pictured: their own target, 'explain'.


use rule classifier as explanation with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        classifier=stage.reads("classifier"),
        segmenter=stage.reads("segmenter"),
    output:
        stage.artefact("explanation"),


use rule index as explanations with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        explanations=stage.reads("explanations"),
    output:
        f"{BASE}/{{folder,explanations}}/manifest.json",
        report(
            f"{BASE}/{{folder}}/explanations.md",
            caption="../report/explanations.rst",
            category="Results",
        ),
        f"{BASE}/{{folder}}/explanations.csv",
        directory(f"{BASE}/{{folder}}/pictures"),
