# From maps to pseudo-labels, to a segmentation network, to its predictions, or to better pseudo-labels.


use rule classifier as masks with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        cams=stage.reads("cams"),
        saliency=stage.reads("saliency"),
        scores=stage.reads("scores"),
    output:
        stage.artefact("masks"),


use rule classifier as vote with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        members=stage.reads("members"),
    output:
        stage.artefact("vote"),


use rule classifier as choice with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        members=stage.reads("members"),
    output:
        stage.artefact("choice"),


use rule classifier as segmenter_masks with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        segmenters=stage.reads("segmenters"),
        prior=stage.reads("prior"),
    output:
        stage.artefact("segmenter_masks"),


use rule classifier as regions with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        masks=stage.reads("masks"),
    output:
        stage.artefact("regions"),


use rule classifier as external_masks with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
    output:
        stage.artefact("external_masks"),


use rule classifier as segmenter with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        masks=stage.reads("masks"),
        classifier=stage.reads("classifier"),
        warm_start=stage.reads("warm_start"),
        memory=stage.reads("memory"),
        architecture_from=stage.reads("architecture_from"),
    output:
        stage.artefact("segmenter"),


use rule classifier as predictions with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        segmenter=stage.reads("segmenter"),
        tags_from=stage.reads("tags_from"),
    output:
        stage.artefact("predictions"),
