# From maps to pixels that belong together, and maps that walk along them, or along features that are alike.


use rule classifier as affinity_labels with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        cams=stage.reads("cams"),
        saliency=stage.reads("saliency"),
    output:
        stage.artefact("affinity_labels"),


use rule classifier as affinity with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        labels=stage.reads("labels"),
        warm_start=stage.reads("warm_start"),
    output:
        stage.artefact("affinity"),


use rule classifier as walk with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        cams=stage.reads("cams"),
        affinity=stage.reads("affinity"),
    output:
        stage.artefact("walk"),


use rule classifier as feature_walk with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        cams=stage.reads("cams"),
        warm_start=stage.reads("warm_start"),
    output:
        stage.artefact("feature_walk"),
