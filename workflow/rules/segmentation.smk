# From maps to masks, to a segmentation network, to its predictions.


rule masks:
    input:
        unpack(scatter.inputs("masks")),
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
        mem_mb=scatter.memory("masks"),
        runtime=NEEDS["masks"].minutes,
    params:
        settings=plan.settings("masks"),
        code=plan.code("masks"),
        run=plan.program("masks"),
        inputs=scatter.flags("masks"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Pseudo masks {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule masks as masks_shard with:
    output:
        f"{RUN}/masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Pseudo masks {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule vote:
    input:
        unpack(scatter.inputs("vote")),
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
        mem_mb=scatter.memory("vote"),
        runtime=NEEDS["vote"].minutes,
    params:
        settings=plan.settings("vote"),
        code=plan.code("vote"),
        run=plan.program("vote"),
        inputs=scatter.flags("vote"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Masks by vote {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule vote as vote_shard with:
    output:
        f"{RUN}/masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Masks by vote {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule external_masks:
    input:
        unpack(scatter.inputs("external_masks")),
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
        mem_mb=scatter.memory("external_masks"),
        runtime=NEEDS["external_masks"].minutes,
    params:
        settings=plan.settings("external_masks"),
        code=plan.code("external_masks"),
        content=plan.elsewhere_content("external_masks"),
        run=plan.program("external_masks"),
        inputs=scatter.flags("external_masks"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Taking in masks made elsewhere: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule external_masks as external_masks_shard with:
    output:
        f"{RUN}/masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Taking in masks made elsewhere: {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


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
        unpack(scatter.inputs("predictions")),
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
        gpu=scatter.gpus,
        mem_mb=scatter.memory("predictions"),
        runtime=NEEDS["predictions"].minutes,
    params:
        settings=plan.settings("predictions"),
        code=plan.code("predictions"),
        run=plan.program("predictions"),
        inputs=scatter.flags("predictions"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Predicting with segmentation network {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule predictions as predictions_shard with:
    output:
        f"{RUN}/predictions/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/predictions/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/predictions/{name}/{part}-of-{parts}.tsv"
    message:
        "Predicting with segmentation network {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"
