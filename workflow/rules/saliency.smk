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
        unpack(plan.inputs("saliency_maps")),
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
        gpu=1,
        mem_mb=NEEDS["saliency_maps"].memory,
        runtime=NEEDS["saliency_maps"].minutes,
    params:
        settings=plan.settings("saliency_maps"),
        code=plan.code("saliency_maps"),
        run=plan.program("saliency_maps"),
        inputs=plan.flags("saliency_maps"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Saliency maps {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule saliency_masks:
    input:
        unpack(plan.inputs("saliency_masks")),
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
        mem_mb=NEEDS["saliency_masks"].memory,
        runtime=NEEDS["saliency_masks"].minutes,
    params:
        settings=plan.settings("saliency_masks"),
        code=plan.code("saliency_masks"),
        run=plan.program("saliency_masks"),
        inputs=plan.flags("saliency_masks"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Saliency masks {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"
