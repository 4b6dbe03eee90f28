# Objects of any class against the background.


use rule classifier as saliency with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        hints=stage.reads("hints"),
        saliency=stage.reads("saliency"),
        warm_start=stage.reads("warm_start"),
    output:
        stage.artefact("saliency"),


use rule classifier as saliency_maps with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        saliency=stage.reads("saliency"),
    output:
        stage.artefact("saliency_maps"),


use rule classifier as saliency_masks with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        maps=stage.reads("maps"),
    output:
        stage.artefact("saliency_masks"),
