# From images, and hints of class activation maps, to what is an object of any class.


rule saliency:
    input:
        unpack(plan.inputs("saliency")),
    output:
        f"{RUN}/saliency/{{name}}/manifest.json",
        f"{RUN}/saliency/{{name}}/model.safetensors",
        f"{RUN}/saliency/{{name}}/metrics.jsonl",
    log:
        "logs/{dataset}/s{seed}/saliency/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("saliency"),
    conda:
        "../../envs/environment.yml"
    threads: plan.cores("saliency", GPU_CORES)
    resources:
        gpu=plan.processes("saliency"),
        mem_mb=plan.memory("saliency"),
        runtime=NEEDS["saliency"].minutes,
    params:
        settings=plan.settings("saliency"),
        code=plan.code("saliency"),
        weights=plan.weights_content("saliency"),
        run=plan.program("saliency"),
        inputs=plan.flags("saliency"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Training saliency {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule saliency_maps:
    input:
        unpack(scatter.inputs("saliency_maps")),
    output:
        f"{RUN}/saliency-maps/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/saliency-maps/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-maps/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("saliency_maps"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=scatter.gpus,
        mem_mb=scatter.memory("saliency_maps"),
        runtime=NEEDS["saliency_maps"].minutes,
    params:
        settings=plan.settings("saliency_maps"),
        code=plan.code("saliency_maps"),
        run=plan.program("saliency_maps"),
        inputs=scatter.flags("saliency_maps"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Saliency maps {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule saliency_maps as saliency_maps_shard with:
    output:
        f"{RUN}/saliency-maps/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/saliency-maps/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-maps/{name}/{part}-of-{parts}.tsv"
    message:
        "Saliency maps {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule saliency_masks:
    input:
        unpack(scatter.inputs("saliency_masks")),
    output:
        f"{RUN}/saliency-masks/{{name}}/manifest.json",
        directory(f"{RUN}/saliency-masks/{{name}}/masks"),
    log:
        "logs/{dataset}/s{seed}/saliency-masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("saliency_masks"),
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=scatter.memory("saliency_masks"),
        runtime=NEEDS["saliency_masks"].minutes,
    params:
        settings=plan.settings("saliency_masks"),
        code=plan.code("saliency_masks"),
        run=plan.program("saliency_masks"),
        inputs=scatter.flags("saliency_masks"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Saliency masks {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule saliency_masks as saliency_masks_shard with:
    output:
        f"{RUN}/saliency-masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/saliency-masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Saliency masks {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"
