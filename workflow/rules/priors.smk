# From tags to class activation maps, and to maps put together or made elsewhere.
#
# The rule classifier is whole; all others that make something of a recipe say what they read and make, and take the
# rest from it.


rule classifier:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        ordinary=stage.reads("ordinary"),
        warm_start=stage.reads("warm_start"),
    output:
        stage.artefact("classifier"),
    log:
        "logs/{dataset}/s{seed}/{folder}/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/{folder}/{name}.tsv"
    conda:
        "../../envs/environment.yml"
    threads: stage.threads
    resources:
        gpu=stage.gpus,
        gpu_model=stage.gpu_model,
        gres=stage.gres,
        nodes=stage.nodes,
        mpi=stage.mpi,
        mem_mb=stage.memory,
        runtime=stage.minutes,
    params:
        command=stage.command,
        title=stage.title,
    message:
        "{params.title}"
    shell:
        COMMAND


use rule classifier as cams with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        classifier=stage.reads("classifier"),
    output:
        stage.artefact("cams"),


use rule classifier as text_cams with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
    output:
        stage.artefact("text_cams"),


use rule classifier as ensemble with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
        members=stage.reads("members"),
        scores=stage.reads("scores"),
    output:
        stage.artefact("ensemble"),


use rule classifier as external_cams with:
    input:
        unpack(stage.waits),
        index=stage.reads("index"),
    output:
        stage.artefact("external_cams"),
