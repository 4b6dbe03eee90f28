# From maps to masks, to a segmentation network, to its predictions.


rule masks:
    input:
        unpack(plan.inputs("masks")),
    output:
        f"{RUN}/masks/{{name}}/manifest.json",
        directory(f"{RUN}/masks/{{name}}/masks"),
    log:
        "logs/{dataset}/s{seed}/masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("masks"),
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=NEEDS["masks"].memory,
        runtime=NEEDS["masks"].minutes,
    params:
        settings=plan.settings("masks"),
        code=plan.code("masks"),
        run=plan.program("masks"),
        inputs=plan.flags("masks"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Pseudo masks {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule vote:
    input:
        unpack(plan.inputs("vote")),
    output:
        f"{RUN}/masks/{{name}}/manifest.json",
        directory(f"{RUN}/masks/{{name}}/masks"),
        f"{RUN}/masks/{{name}}/agreement.csv",
    log:
        "logs/{dataset}/s{seed}/masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("vote"),
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=NEEDS["vote"].memory,
        runtime=NEEDS["vote"].minutes,
    params:
        settings=plan.settings("vote"),
        code=plan.code("vote"),
        run=plan.program("vote"),
        inputs=plan.flags("vote"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Masks by vote {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule external_masks:
    input:
        unpack(plan.inputs("external_masks")),
    output:
        f"{RUN}/masks/{{name}}/manifest.json",
        directory(f"{RUN}/masks/{{name}}/masks"),
    log:
        "logs/{dataset}/s{seed}/masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("external_masks"),
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=NEEDS["external_masks"].memory,
        runtime=NEEDS["external_masks"].minutes,
    params:
        settings=plan.settings("external_masks"),
        code=plan.code("external_masks"),
        content=plan.elsewhere_content("external_masks"),
        run=plan.program("external_masks"),
        inputs=plan.flags("external_masks"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Taking in masks made elsewhere: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule segmenter:
    input:
        unpack(plan.inputs("segmenter")),
    output:
        f"{RUN}/segmenters/{{name}}/manifest.json",
        f"{RUN}/segmenters/{{name}}/model.safetensors",
        f"{RUN}/segmenters/{{name}}/metrics.jsonl",
    log:
        "logs/{dataset}/s{seed}/segmenters/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/segmenters/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("segmenter"),
    conda:
        "../../envs/environment.yml"
    threads: plan.cores("segmenter", GPU_CORES)
    resources:
        gpu=plan.processes("segmenter"),
        mem_mb=plan.memory("segmenter"),
        runtime=NEEDS["segmenter"].minutes,
    params:
        settings=plan.settings("segmenter"),
        code=plan.code("segmenter"),
        weights=plan.weights_content("segmenter"),
        run=plan.program("segmenter"),
        inputs=plan.flags("segmenter"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Training segmentation network {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule predictions:
    input:
        unpack(plan.inputs("predictions")),
    output:
        f"{RUN}/predictions/{{name}}/manifest.json",
        directory(f"{RUN}/predictions/{{name}}/masks"),
    log:
        "logs/{dataset}/s{seed}/predictions/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/predictions/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("predictions"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=1,
        mem_mb=NEEDS["predictions"].memory,
        runtime=NEEDS["predictions"].minutes,
    params:
        settings=plan.settings("predictions"),
        code=plan.code("predictions"),
        run=plan.program("predictions"),
        inputs=plan.flags("predictions"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Predicting with segmentation network {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"
